"""How the arrays of the published count VAEs enter ours: weights by our names, given noise in place
of keys."""

import numpyro.distributions as dist
from numpyro.distributions import MaskedDistribution
from numpyro.primitives import Messenger


def nested(a, prefix, names):
    """Arrays under `prefix` as a tree of parameters; `names` translates top-level parts."""
    params: dict = {}
    for path, value in ((k[len(prefix) :], v) for k, v in a.items() if k.startswith(prefix)):
        parts = path.split("/")
        parts[0] = names.get(parts[0], parts[0])
        if len(parts) > 1 and parts[1].startswith("layer"):
            parts.insert(1, "trunk")
        node = params
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
    return params


class given_noise(Messenger):
    """Give reparameterised sites the base noise named after them, point masses their value."""

    def __init__(self, fn, noise):
        super().__init__(fn)
        self.noise = noise

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["value"] is None:
            # Sites without noise are point masses in the guide, from which the model's site is
            # replayed.
            fn = msg["fn"]
            while isinstance(fn, (dist.Independent, MaskedDistribution)):
                fn = fn.base_dist
            if isinstance(fn, dist.Delta):
                msg["value"] = fn.v
            if isinstance(fn, dist.Delta) or msg["name"] not in self.noise:
                return
            eps = self.noise[msg["name"]].reshape(fn.batch_shape)
            msg["value"] = (
                fn.from_noise(eps) if hasattr(fn, "from_noise") else fn.loc + fn.scale * eps
            )
