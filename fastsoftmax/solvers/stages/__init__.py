"""What comes before a method and after it: first steps by cheap passes, and the last steps with their proof."""
