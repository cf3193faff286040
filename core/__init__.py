"""What every other package stands on: settings, digits, files and words; imports none of them."""
