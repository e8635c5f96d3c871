"""Edits: text → text, one idea per file. They never drop a document, and a text's edit depends on that text alone."""
