"""Service levels: indicators, objectives, error budgets and how fast they burn."""
