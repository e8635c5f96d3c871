"""Does curation help? The same model on raw, curated and other shards, measured on documents that none of them holds."""
