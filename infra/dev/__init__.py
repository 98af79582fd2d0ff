"""What the makers use: generators, house rules, pages made from tests."""
