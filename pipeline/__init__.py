"""Files, recipes and Beam: everything that touches the world."""
