"""The agents' one way out: it adds the credentials that agents never see."""
