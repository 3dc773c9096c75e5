"""Search for hyperparameters by Optuna: batches of trials that train as populations. Needs the extra `optuna`."""
