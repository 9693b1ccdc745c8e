"""How stored records are sealed, compressed and packed, and what a damaged one becomes."""
