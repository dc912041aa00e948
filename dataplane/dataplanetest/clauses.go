package dataplanetest

import "slices"

// clauses is the contract.
func clauses() []clause {
	return slices.Concat(
		translationClauses(), routingClauses(), errorClauses(),
		changeClauses(), restartClauses(), leakClauses(),
		convergenceClauses(), lifecycleClauses(), damageClauses(), watchClauses(),
	)
}
