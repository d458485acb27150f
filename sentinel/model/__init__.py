"""The nouns of Sentinel, frozen values and protocols, and the one codec that writes and reads them."""
