"""From recorded nodes to what is drawn: items and typed edges."""
