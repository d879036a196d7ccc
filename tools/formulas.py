"""Formulas as MathML, which browsers draw by themselves and screen readers read.

docutils translates; browsers then set spaces by rules that are not TeX's. What differs is mended.
"""

import re

from docutils.utils.math import latex2mathml

THIN = '<mspace width="0.17em"></mspace>'
APPLIED = "<mo>&ApplyFunction;</mo>"
# log Y and 2 log Y need spaces, log(Y) needs none; \, in the source is one already.
AFTER_FUNCTION = re.compile(rf"{APPLIED}(?!\s*(?:<mrow>\s*)?<m(?:o|space)\b)")
BEFORE_FUNCTION = re.compile(rf"(</m(?!o|space)\w+>\s*)(?=<mi>\w+</mi>\s*{APPLIED})")
LARGEST = re.compile(r"<mo>(max|min)</mo>(?=\s*<mo[^>]*>[(\[])")
# A sign behind a bracket, a comma or a relation belongs to what follows.
SIGN = re.compile(r"(<mo[^>]*>(?:[(\[{,;=≤≥∈]|&[lg]t;)</mo>\s*)<mo>([+−±])</mo>")
# Round and square brackets do not grow by themselves; no others do in TeX, either.
BRACKET = re.compile(r"<mo>([{}⌊⌋|‖])</mo>")
# docutils sets an index of a letter with an accent under the letter.
INDEX = r"<m[in]>[^<]*</m[in]>|<mrow>(?:(?!</?mrow>).)*</mrow>"
UNDER_ACCENT = re.compile(
    rf"<munderover>\s*(<mi>\w</mi>)\s*({INDEX})\s*(<mo[^>]*>[~ˉˆ]</mo>)\s*</munderover>", re.DOTALL
)


def mathml(formula: str, block: bool = False) -> str:
    """MathML of a formula in TeX; docutils.utils.math.MathError for what it does not know."""
    markup = latex2mathml.tex2mathml(formula, as_block=block)
    markup = UNDER_ACCENT.sub(r'<msub><mover accent="true">\1\3</mover>\2</msub>', markup)
    markup = SIGN.sub(r'\1<mo form="prefix">\2</mo>', markup)
    markup = BRACKET.sub(r'<mo stretchy="false">\1</mo>', markup)
    markup = LARGEST.sub(r'<mo lspace="0" rspace="0">\1</mo>', markup)
    markup = BEFORE_FUNCTION.sub(rf"\1{THIN}", markup)
    return AFTER_FUNCTION.sub(APPLIED + THIN, markup)
