"""Several processes that act as one: how they meet, what they tell one another. Knows torch, and nothing of ours."""
