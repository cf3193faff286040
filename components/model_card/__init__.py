"""Model cards: what every pushed version says about itself, after Mitchell et al. 2019."""
