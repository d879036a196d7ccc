"""Official archives: where they are, how they are fetched, checked and unpacked."""
