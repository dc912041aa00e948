// Package sqlstore keeps what an L3 service was asked for, in SQLite or in PostgreSQL.
//
// A resource is kept as one JSON document, beside nothing but its ID: whatever must be unique, or
// found quickly, has an index on its place in the document. So a new attribute needs no migration,
// and one that must be quick needs an index only. What is not a resource (addresses, segments,
// counts, quotas, the outbox) has tables of its own.
//
// # Transactions
//
// Whoever changes something has the whole database for himself: on SQLite that is its nature, on
// PostgreSQL a table's lock sees to it, which the server drops when the connection ends, or has
// been idle for 20 s within a transaction. So transactions have an effect as if one ran after
// another, none is refused because of another, and the outbox is in the order of the commits. It is
// fast, because what takes time in a small transaction is the commit, and the transactions of a
// process that wait for each other share one; PostgreSQL's optimistic way, in which nobody waits,
// would run most of them twice, because what they read (how many routers has the project? which
// address is free?) is what the others change. Readers wait for nobody: they see the last commit.
//
// # SQL by hand
//
// The queries are few and all of one kind, and the two databases differ in a dozen expressions,
// which stand together behind one interface (dialect). An object-relational mapper, such as bun,
// would map columns that do not exist here, and have no words for what does: paths into documents
// that hold lists, the same order of strings and the same equality everywhere, pages that begin
// behind a row. The indexes are on expressions, and an expression has to be written exactly as in
// its index to use it.
package sqlstore
