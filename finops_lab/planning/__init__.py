"""Planning: budgets and what spend will make of them."""
