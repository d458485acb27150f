"""The nouns of Sentinel: plain frozen values and protocols, standard library only."""
