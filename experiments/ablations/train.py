"""Train as `bcq_exp.train` does, the forms that are wrong on purpose included: `algorithm=bcq algorithm.name=FORM`."""

from bcq_exp.algorithms import REGISTRY
from bcq_exp.train import main
from experiments.ablations.forms import FORMS

REGISTRY.update(FORMS)  # here alone: the product does not know them

if __name__ == "__main__":
    main()
