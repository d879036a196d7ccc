"""Every figure: tables and arrays in, matplotlib figures out."""
