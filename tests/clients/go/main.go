// Registers, logs in, spends and prints what it saw.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	openapi "example.com/mana/client"
)

func main() {
	configuration := openapi.NewConfiguration()
	configuration.Servers = openapi.ServerConfigurations{{URL: os.Args[1]}}
	client := openapi.NewAPIClient(configuration)
	email, password := os.Args[2], "correct horse battery"
	ctx := context.Background()

	_, _, err := client.UsersAPI.RegisterUser(ctx).Register(*openapi.NewRegister(email, password)).Execute()
	check(err)
	session, _, err := client.SessionsAPI.LogIn(ctx).Login(*openapi.NewLogin(email, password)).Execute()
	check(err)
	ctx = context.WithValue(ctx, openapi.ContextAccessToken, session.AccessToken)

	before, _, err := client.BalancesAPI.GetBalance(ctx).Execute()
	check(err)
	wish := *openapi.NewUseCredits(10, "tests", "a test")
	wish.SetMetadata(map[string]interface{}{"language": "Go"})
	_, _, err = client.SpendingAPI.UseCredits(ctx).UseCredits(wish).IdempotencyKey("once").Execute()
	check(err)
	used, _, err := client.SpendingAPI.UseCredits(ctx).UseCredits(wish).IdempotencyKey("once").Execute()
	check(err)
	rows, _, err := client.TransactionsAPI.ListTransactions(ctx).Limit(5).Execute()
	check(err)
	_, _, err = client.PackagesAPI.ListPackages(ctx).Execute()
	check(err)
	wish.SetAmount(1_000_000_000)
	_, _, err = client.SpendingAPI.UseCredits(ctx).UseCredits(wish).IdempotencyKey("too much").Execute()
	var refusal *openapi.GenericOpenAPIError
	if !errors.As(err, &refusal) {
		panic(err)
	}
	problem := refusal.Model().(openapi.ProblemDocument)
	fmt.Println(before.FreeCreditsRemaining, used.NewBalance.FreeCreditsRemaining, len(rows), problem.Code)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
