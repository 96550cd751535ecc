"""What the API families and the middleware share: the application's state, error responses, submission, moderation."""
