"""Keyless public price feeds: one small module each, all of the same shape (`PriceFeed`), behind one source (`PublicPrices`).

A feed knows its addresses and reads its replies strictly; caps, budget, the delivery day's grid and what the values may be
used for are said once, in `public_prices`. What a feed is not allowed to do: guess an auction, fill a gap, or hide that its
values are coarser than the market's.
"""
