"""The sections of the monthly review: one module each, `build(review) -> Section`."""
