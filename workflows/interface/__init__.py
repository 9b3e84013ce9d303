"""The contract: names, messages, abstract activities, codes and pure rules. The one part every room may import."""
