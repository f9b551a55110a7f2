"""What happens to an encoder besides being read: nothing, or training of some kind."""
