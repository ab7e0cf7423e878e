"""Every kind of teacher: trained here, the user's own network, program or estimator, or columns."""
