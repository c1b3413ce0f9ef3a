"""The families of arms: what stands before a passage when its cache is built, and who writes it."""
