"""The choice among trained runs by off-policy evaluation: estimates of their returns, and how well they rank."""
