"""What keeps threads going when those who ran them are gone."""
