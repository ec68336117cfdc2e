"""From what a fleet can do and what prices may come to what a market takes.

| module | what it is about |
| --- | --- |
| `market_products`, `market_file` | dated rules of auctions and reserve products, from configuration |
| `curves`, `lots` | lots, ticks, demand curves, rounding with error diffusion |
| `order` | the curve order of a planned portfolio |
| `scenario_curves`, `risk` | volumes and curves from price scenarios; mean against the worst tail |
| `window_types`, `profiles`, `block_bids`, `blocks` | exclusive groups of profile blocks, and what a market does with them |
| `two_auctions`, `residual` | overnight cars over two days; what an auction does not give |
| `reserves`, `reserve_offers` | reserve capacity with its evidence |
| `eligibility` | capacity obligations |
| `bid_check`, `reserve_check` | the independent check that everything passes before it leaves |

Rules come in as values (`MarketRules`, `AuctionRules`, `ReserveRules`); nothing here knows an exchange's wire format.
"""
