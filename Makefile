# make help says what there is to do. Each goal that runs Python first sees to an environment: the
# active one (virtualenv, conda, else python3) where it has all that is needed; else .venv, made
# or completed by tools/make_env.py from requirements.lock. The active one is never changed.

PROFILE ?= quick
DATASET ?= toy
DATA_DIR ?=
WEIGHTS ?=
BACKBONE ?=
RESULTS_DIR ?=
PYTEST_ARGS ?=
LAB_ARGS ?=
TORCH ?=
PYTHON ?= python3

# Idle OpenMP threads that spin slow down everything else on a small or shared machine.
OMP_WAIT_POLICY ?= PASSIVE
export OMP_WAIT_POLICY
# The active environment need not have the package installed; kernels start in notebooks/.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.PHONY: help reproduce check test lab site slides cheatsheet handout times readme env clean lock .venv

ifneq ($(filter reproduce check test lab site slides cheatsheet handout times readme env,$(MAKECMDGOALS)),)
  # What goals need beside the package: extras and groups of pyproject.toml.
  NEEDS_check := browser dask dev engine site
  NEEDS_test := $(NEEDS_check)
  NEEDS_site := site
  NEEDS_slides := site
  NEEDS_cheatsheet := browser site
  EXTRAS := $(sort $(foreach goal,$(MAKECMDGOALS),$(NEEDS_$(goal))))
  # The active Python, if check_env accepts it (it says why where it does not).
  RUN := $(shell for p in "$${VIRTUAL_ENV:+$$VIRTUAL_ENV/bin/python}" \
      "$${CONDA_PREFIX:+$$CONDA_PREFIX/bin/python}" "$(PYTHON)"; do \
        if command -v "$$p" >/dev/null 2>&1; then \
          "$$p" tools/check_env.py $(EXTRAS) && command -v "$$p"; break; fi; done)
  ifeq ($(RUN),)
    RUN := .venv/bin/python
    READY := .venv
  endif
endif

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r goal text; do printf '  make %-10s %s\n' "$$goal" "$$text"; done
	@echo
	@echo '  Variables of reproduce: PROFILE=smoke|quick|laptop|paper (now $(PROFILE)), DATASET (now $(DATASET)),'
	@echo '  DATA_DIR, WEIGHTS, BACKBONE, RESULTS_DIR. Of check and test: PYTEST_ARGS; of lab: LAB_ARGS.'
	@echo '  PYTHON (now $(PYTHON)): used, or .venv made from it, where no environment is active.'
	@echo '  TORCH=cpu: make .venv without CUDA.'

reproduce: env ## Run all notebooks headless; results go to results/PROFILE
	"$(RUN)" -m fdhmfe reproduce \
		$(if $(PROFILE),--profile "$(PROFILE)") $(if $(DATASET),--dataset "$(DATASET)") \
		$(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
		$(if $(BACKBONE),--backbone "$(BACKBONE)") $(if $(RESULTS_DIR),--results-dir "$(RESULTS_DIR)")

check: env ## Lint, check format and types, run the quick tests (two minutes on two cores)
	$(STATIC)
	OMP_NUM_THREADS=1 "$(RUN)" -m pytest -m "not slow" -n auto $(PYTEST_ARGS)

test: env ## Lint, check format and types, run all tests (what CI runs)
	$(STATIC)
	"$(RUN)" -m pytest $(PYTEST_ARGS)

define STATIC
"$(RUN)" -m ruff check
"$(RUN)" -m ruff format --check
"$(RUN)" -m mypy
endef

lab: env ## Open JupyterLab at notebooks/
	"$(RUN)" -m jupyterlab $(LAB_ARGS) notebooks

site: env ## Render the executed notebooks of PROFILE into results/PROFILE/site, with slides and handouts if made
	"$(RUN)" tools/build_site.py --profile "$(PROFILE)" \
		$(if $(RESULTS_DIR),--results-dir "$(RESULTS_DIR)")

slides: env ## Make slides of the notebooks, with figures where executed: results/PROFILE/slides
	"$(RUN)" tools/slides.py --profile "$(PROFILE)" \
		$(if $(RESULTS_DIR),--results-dir "$(RESULTS_DIR)")

cheatsheet: env ## Print symbols, shapes and formulas on one page: results/cheatsheet.pdf (needs Chromium)
	"$(RUN)" tools/cheatsheet.py $(if $(RESULTS_DIR),--out "$(RESULTS_DIR)/cheatsheet.pdf")

handout: env ## Pack the notebooks for a class, without solutions: results/handout.zip
	"$(RUN)" tools/handout.py $(if $(RESULTS_DIR),--out "$(RESULTS_DIR)/handout.zip")

times: env ## Write how long notebooks take to read into them and into docs/teaching.md
	"$(RUN)" tools/times.py

readme: env ## Write the figure of README.md, its tables and those of docs/results.md anew
	"$(RUN)" tools/readme.py

env: $(READY) ## Set up the environment and say which one is used
	@echo "Environment: $(RUN)"

# Only ignored files, only in these places: never images placed in data/ by hand, nor anything in
# results/paper and results/laptop, whose runs took hours. .venv stays too. Mind the closing slashes:
# without them git clean also takes ignored folders whose names only begin alike (data/toyota).
clean: ## Remove generated results, the toy data and caches; keep your data and .venv
	@git --literal-pathspecs clean -Xdf -e '!/results/laptop/**' -- results/ data/toy/ data/toy-*/ data/cache/ \
		.pytest_cache/ .ruff_cache/ .mypy_cache/

# Pins that still fit stay; LOCK_ARGS=--upgrade renews them all.
lock: ## Write requirements.lock anew from pyproject.toml (needs uv)
	@uv=$$(command -v uv || echo .venv/bin/uv); \
	command -v "$$uv" >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }; \
	"$$uv" pip compile --quiet --generate-hashes --no-header --universal --extra browser --extra dask \
		--extra engine --extra site --group dev $(LOCK_ARGS) -o requirements.lock pyproject.toml

.venv:
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "There is no $(PYTHON). Install Python 3.11 or newer." >&2; exit 1; }
	@"$(PYTHON)" tools/make_env.py $(if $(TORCH),--torch "$(TORCH)") $(EXTRAS)
