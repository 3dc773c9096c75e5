"""Small studies: each a file with a question, a sweep of minutes and a picture beside it."""
