"""FDH-MFE: fine-grained deep hashing with multi-level features, and a kit to reproduce it."""
