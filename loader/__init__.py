"""From shards to rows of tokens: which rows come when, how documents fill them. Knows neither torch nor the trainer."""
