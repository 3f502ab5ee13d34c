"""Headers, readers and the frame table."""
