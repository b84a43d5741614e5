import org.openapitools.client.apis.BalancesApi
import org.openapitools.client.apis.PackagesApi
import org.openapitools.client.apis.SessionsApi
import org.openapitools.client.apis.SpendingApi
import org.openapitools.client.apis.TransactionsApi
import org.openapitools.client.apis.UsersApi
import org.openapitools.client.infrastructure.ApiClient
import org.openapitools.client.infrastructure.ClientError
import org.openapitools.client.infrastructure.ClientException
import org.openapitools.client.infrastructure.Serializer
import org.openapitools.client.models.Login
import org.openapitools.client.models.ProblemDocument
import org.openapitools.client.models.Register
import org.openapitools.client.models.UseCredits

/** Registers, logs in, spends and prints what it saw. */
fun main(arguments: Array<String>) {
    val (url, email) = arguments
    val password = "correct horse battery"
    UsersApi(url).registerUser(Register(email, password))
    ApiClient.accessToken = SessionsApi(url).logIn(Login(email, password)).accessToken

    val before = BalancesApi(url).getBalance().freeCreditsRemaining
    val spending = SpendingApi(url)
    val wish = UseCredits(10L, "tests", "a test", metadata = mapOf("language" to "Kotlin"))
    spending.useCredits(wish, "once")
    val after = spending.useCredits(wish, "once").newBalance.freeCreditsRemaining
    val rows = TransactionsApi(url).listTransactions(limit = 5L).size
    PackagesApi(url).listPackages()
    try {
        spending.useCredits(wish.copy(amount = 1_000_000_000L), "too much")
    } catch (error: ClientException) {
        val body = (error.response as ClientError<*>).body as String
        val problem = Serializer.moshi.adapter(ProblemDocument::class.java).fromJson(body)!!
        println("$before $after $rows ${problem.code}")
    }
}
