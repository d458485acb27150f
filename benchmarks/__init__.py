"""Side by side with what a user would pick instead; each module says what it measures."""
