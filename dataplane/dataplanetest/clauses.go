package dataplanetest

import "slices"

// clauses is the contract.
func clauses() []clause {
	return slices.Concat(
		translationClauses(), forwardingClauses(), limitClauses(), filteringClauses(), routingClauses(), errorClauses(),
		changeClauses(), restartClauses(), leakClauses(), counterClauses(),
		readinessClauses(), convergenceClauses(), lifecycleClauses(), damageClauses(), watchClauses(), ownerClauses(), stepClauses(),
		edgeClauses(), centreClauses(), instanceClauses(), advertisementClauses(), metadataClauses(), clampingClauses(), scopeClauses(),
	)
}
