"""The bundled mixture-of-experts trainer: reads shards, writes checkpoints."""
