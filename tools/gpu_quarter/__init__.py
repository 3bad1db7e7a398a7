"""What a rented GPU can tell in a quarter of an hour."""
