"""`make clients-test`: validators and generators of others read what the service says."""
