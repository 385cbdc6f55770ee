"""What `minirec doctor` looks at: each check says what it found, whether that will do, and what to do if not."""
