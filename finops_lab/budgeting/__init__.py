"""Planning of a lab: its budgets against its ledger."""
