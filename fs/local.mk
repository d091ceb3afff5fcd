# One folder per backend.
