"""Model cards of the pushed versions, after Mitchell et al. 2019."""
