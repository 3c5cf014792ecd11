"""What may come: budgets, new features, what-if prices, commitments, credits, the life of a model."""
