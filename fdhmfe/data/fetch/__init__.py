"""The archives of official data sets: where they are; how to fetch, check and unpack them."""
