"""What a unit of AI costs: the twelve KPIs, the bridge between months, capacity and traffic."""
