"""The command line: answers to what cannot be composed, help, and completion in a shell."""
